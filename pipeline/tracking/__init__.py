"""MLflow as two programs: training tells `client` what to log, and `server` logs it."""
