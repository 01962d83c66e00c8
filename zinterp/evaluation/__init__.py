"""How good synthesised planes are, measured against planes that were hidden."""
