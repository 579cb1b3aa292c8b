"""What is written beside the run's own files: one file per format, each made from what the run has made already."""
