"""What vtm costs, each part beside what it is compared with: `python -m benchmarks`."""
