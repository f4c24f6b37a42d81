"""What people look at: tables and reports, made from artifacts alone, so that no plug-in is ever imported here."""
