"""Trees of concepts: from WordNet or one's own hierarchy, for any list of labels."""
