"""What belongs to apps and their workflows."""
