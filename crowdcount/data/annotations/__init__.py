"""Reading annotations: tables, text files, MATLAB files, JSON."""
