"""Claims in a DynamoDB table."""
