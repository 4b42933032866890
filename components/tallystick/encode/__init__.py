"""A party's aligned columns become secret shares on disk."""
