"""Reading of annotations: tables, text files, MATLAB files, JSON."""
