"""How a network is run best here: measured on this machine, with this model, on this raster, and remembered."""
