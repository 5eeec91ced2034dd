"""One file (or folder) per SDK that is instrumented."""
