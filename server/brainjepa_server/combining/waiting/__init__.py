"""What has come from sites and waits on disk until everything is there."""
