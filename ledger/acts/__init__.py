"""Acts: what operators do that moves money or changes who may or what holds, and the second person that some need."""
