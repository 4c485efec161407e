"""The platform's tables and services as Dify 1.9.2 shapes them."""
