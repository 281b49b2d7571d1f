"""What an image does over several turns, one file each."""
