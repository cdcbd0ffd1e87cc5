"""The patterns of the guide: behaviour that takes too long for their pages."""
