"""What a site that lies does to a study."""
