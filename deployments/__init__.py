"""Everything that puts the runbooks to work: the `dr` command, the Prefect deployments, the sites and the lab."""
