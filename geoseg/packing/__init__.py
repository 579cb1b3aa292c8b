"""The QGIS plugin out of the package: its files, profiles of QGIS, texts to translate."""
