"""Who sits which exams, how, and where: knows no exam and no cell."""
