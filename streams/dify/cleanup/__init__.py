"""What goes with a deleted document or dataset."""
