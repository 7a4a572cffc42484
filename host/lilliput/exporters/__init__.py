"""Writing the intermediate representation to other engines' model formats."""
