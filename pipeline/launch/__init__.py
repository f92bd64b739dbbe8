"""Stages that are out of date, several at a time, here or as Slurm jobs."""
