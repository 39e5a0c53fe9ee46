"""`python -m vtm` is `vtm`."""

from vtm.cli import main

if __name__ == "__main__":
    main()
