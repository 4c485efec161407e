"""What a release needs: checks of its files, the licences of its dependencies, its bill of materials."""
