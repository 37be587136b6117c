"""What in the documents is made by code: tables of results, pictures, the reference, the site."""
