"""Losses and target encoders of segmentation and detection."""
