"""The servers that docs/scale-out.md takes as given: PostgreSQL with a user, and something that speaks S3 with a bucket."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from sqlalchemy import make_url
from written_commands import LOCAL, Shell, answers, free_port, wait_until

from postgres import running_cluster

PASSWORD = "mine: §, $ and 'quotes'"  # noqa: S105 - of a database that lives for seconds
S3_KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "unguessable"}


@pytest.fixture(scope="session")
def cluster():
    with running_cluster() as url:
        yield url


@pytest.fixture(scope="session")
def database(cluster, tmp_path_factory):
    """Variables with which libpq reaches a PostgreSQL with the page's databases as carrossel, who must say a password."""
    url = make_url(cluster)
    home = Path(str(url.query["host"]))
    sql = f"CREATE ROLE carrossel LOGIN CREATEDB PASSWORD '{PASSWORD.replace(chr(39), chr(39) * 2)}'"
    (home / "data" / "pg_hba.conf").write_text("local all carrossel scram-sha-256\nlocal all all trust\n")
    for statement in (sql, "SELECT pg_reload_conf()"):
        environment = {**os.environ, "PGHOST": str(home), "PGUSER": url.username, "PGDATABASE": url.database}
        subprocess.run(["psql", "--quiet", "-c", statement], env=environment, check=True, stdout=subprocess.DEVNULL)
    reach = {"PGHOST": home, "PGUSER": "carrossel", "PGPASSWORD": PASSWORD}
    folder = tmp_path_factory.mktemp("databases")
    Shell(folder, "hub.env", reach).run("databases", folder)
    return reach


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """Variables of a server of S3 and an empty bucket on it."""
    folder = tmp_path_factory.mktemp("s3")
    port = free_port()
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [Path(sys.executable).with_name("moto_server"), "-H", LOCAL, "-p", str(port)], stdout=log, stderr=log
        )
    try:
        variables = {
            **S3_KEYS,
            "AWS_ENDPOINT_URL": f"http://{LOCAL}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "BUCKET": "carrossel",
        }
        wait_until(answers(variables["AWS_ENDPOINT_URL"]), psutil.Process(server.pid))
        open_s3(variables).create_bucket(Bucket="carrossel")
        yield variables
    finally:
        server.kill()
        server.wait()


def open_s3(variables):
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_DEFAULT_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )


@pytest.fixture(scope="session")
def stored(s3):
    """Names of what is in the bucket."""

    def names():
        listed = open_s3(s3).list_objects_v2(Bucket=s3["BUCKET"])
        return [each["Key"] for each in listed.get("Contents", [])]

    return names
