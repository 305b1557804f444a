"""One client for hosted OpenAI models and open-weight gpt-oss on your own GPU."""
