"""The least a Django project needs."""

SECRET_KEY = "an example's secret is no secret"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "project.urls"
USE_TZ = True
