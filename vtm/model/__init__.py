"""The topic network, how it learns, and how a teacher is distilled into students."""
