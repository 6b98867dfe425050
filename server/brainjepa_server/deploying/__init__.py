"""The coordinator's running processes: SuperLink, proxy, and a study on its way."""
