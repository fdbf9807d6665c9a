"""Template and package of the local cloud, made when their sources change."""
