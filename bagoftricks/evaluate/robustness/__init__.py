"""What a network's accuracy is worth on corrupted images: protocols, their scores, and the count of errors."""
