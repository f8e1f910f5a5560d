"""What the library costs, against named ceilings and peers: one module a suite."""
