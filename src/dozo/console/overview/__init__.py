"""The first page: is everything protected?"""
