"""Tables and images in; ids, preparation, splits; the shares artifact."""
