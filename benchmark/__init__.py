"""What to measure, measuring it safely, and matching what was executed with what was asked."""
