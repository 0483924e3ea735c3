"""``python -m selfnorm``."""

from __future__ import annotations

from selfnorm.cli import main

if __name__ == "__main__":
    main()
