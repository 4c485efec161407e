"""Who is measured side by side: each a program that works through one topic and says how long that took."""
