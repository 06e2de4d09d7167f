"""What gunicorn runs."""

import predictor as myapp

app = myapp.app
