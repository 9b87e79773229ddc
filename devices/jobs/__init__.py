"""One action over many devices, done by workers in small steps: with progress, and resumed after a crash.

Each device is a transaction of its own that ends with the item's mark: a worker that is killed leaves no device
half done, and whoever takes the job over does none twice.
"""
