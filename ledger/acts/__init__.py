"""Acts: what operators do that moves money or changes rights or terms, and the second person that some acts need."""
