"""One step of one delivery (F5): a file for each of its subjects, `runner` on top."""
