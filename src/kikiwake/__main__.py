"""`python -m kikiwake` is the same as `kikiwake`."""

from kikiwake.cli import main

if __name__ == "__main__":
    main()
