"""What the book shows of results: tables, figures, findings, the explorer."""
