"""One collective's statement file, checked by itself and the deployment's key."""
