"""`python -m mstedge` is the command `mstedge`."""

from mstedge.cli import main

if __name__ == "__main__":
    main()
