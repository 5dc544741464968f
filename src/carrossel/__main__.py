"""`python -m carrossel` is `carrossel`."""

from carrossel.cli import app

if __name__ == "__main__":
    app(prog_name="carrossel")
