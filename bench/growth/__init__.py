"""How it grows: each module gives series of points, one picture each."""
