"""Trained stages as safetensors files, for other machines and other programs."""
