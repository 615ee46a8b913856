"""The application that the lab protects: standard library and pg8000 only, so that its image is small."""
