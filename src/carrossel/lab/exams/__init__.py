"""Memory exams: one file an exam, found by its name; `base` says what an exam is.

What isn't an exam lies in a folder: `sitting` lets candidates sit them, `figures` draws what came out, without torch.
"""
